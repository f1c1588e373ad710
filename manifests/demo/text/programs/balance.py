# This program is free software; you can redistribute it under the terms of the GNU General Public License.
import sys

lines = sys.stdin.read().splitlines()
print("read", len(lines), "kept", sum(1 for line in lines if line.strip()))
