"""Whether this Python can have the wheels of a lock: nothing is said if it can, else one line. Any Python can run it.

python .ci/fits.py requirements.lock
"""

import platform
import re
import sys

SYSTEM = "linux" if sys.platform.startswith("linux") else sys.platform


def main(lock):
    """Exit with one line where the lock's head does not say that this Python has all of its wheels."""
    with open(lock) as file:
        head = "".join(line for line in file if line.startswith("# "))
    version, system = "%d.%d" % sys.version_info[:2], "%s-%s" % (SYSTEM, platform.machine())
    states = dict(re.findall(r"^# python (\S+ \S+): (.*)$", head, re.MULTILINE))
    fault = fault_of(states.get("%s %s" % (version, system), "not among what requirements.lock is made for"))
    fault = fault or older(dict(re.findall(r"^# oldest (\w+): \w+ ([\d.]+)$", head, re.MULTILINE)))
    if fault:
        fitting = sorted(name.split()[0] for name, state in states.items() if state == "all" and name.endswith(system))
        advice = "; %s will do: make PYTHON=python%s" % (", ".join(fitting), fitting[-1]) if fitting else ""
        sys.exit("Python %s on %s: %s%s" % (version, system, fault, advice))


def fault_of(state):
    """What is wrong with this interpreter; "" for nothing."""
    if platform.python_implementation() != "CPython" or "t" in getattr(sys, "abiflags", ""):
        return "wheels are for CPython with a global lock"
    return "" if state == "all" else state


def older(oldest):
    """What is wrong with the system; "" for nothing."""
    if SYSTEM == "darwin":
        has, name = platform.mac_ver()[0], "macOS"
    else:
        name, has = platform.libc_ver()
    wanted = oldest[SYSTEM]
    if name not in ("glibc", "macOS") or numbers(has) < numbers(wanted):
        return "needs %s %s, this is %s %s" % ("macOS" if name == "macOS" else "glibc", wanted, name or "no glibc", has)
    return ""


def numbers(version):
    """[2, 28] of `2.28`."""
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    main(sys.argv[1])
