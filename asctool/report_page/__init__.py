"""The page that report writes: what is judged and found of results, figures and clips of it, one HTML file."""
