"""``python -m asctool``, which torchrun and shells without the script directory need."""

from asctool.cli import main

main()
