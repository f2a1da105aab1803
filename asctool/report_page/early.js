// Before anything is drawn: the theme that was chosen last, and that there are scripts at all.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("asctool-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* pages opened from disk may have no storage */ }
