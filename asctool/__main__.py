"""The program's beginning: ``asctool``, and ``python -m asctool``, which torchrun needs.

Ctrl-C is seen to before anything heavy is imported: until :mod:`asctool.console.ending` listens there is nothing to
clear up, and Python's own answer would be a traceback out of the middle of an import. Hence so few imports here.
"""

import os
import signal


def main() -> None:
    """Run the command line; SIGINT and SIGTERM end what has not begun yet with 130 and 143, in one line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells leave it to what runs in the background
            signal.signal(number, _end)
    from asctool import cli

    cli.main()


def _end(signum: int, frame: object) -> None:
    os.write(2, b"asctool: stopped\n")
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
