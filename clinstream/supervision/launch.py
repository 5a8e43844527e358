"""Becomes another program that cannot outlive its parent: the kernel signals it when the parent is gone.

Run as `python -I -S launch.py SIGNAL NICE UID:GID PARENT_PID PROGRAM ARGUMENT...`; standard library only, no
imports from this project, because it stands between every start and its program (15 ms).
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Drops privileges, asks for the parent-death signal (prctl(2)), then replaces itself by the program."""
    death_signal, nice, user, parent, *program = argv
    if int(nice):
        os.nice(int(nice))
        # Linux shares processors between sessions first (sched(7), autogroup), and each component is a session.
        with suppress(OSError), open("/proc/self/autogroup", "w") as group:
            group.write(nice)
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # After the change of user, which clears it (prctl(2)).
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(program[0], program, os.environ)


if __name__ == "__main__":
    main(sys.argv[1:])
