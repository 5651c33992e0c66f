"""`make wire-check`: print the comparison; the exit status is 1 if a package has a member that is in no table."""

import sys

from tests.wire.check import check, report

difference = check()
print("\n".join(report(difference)))
sys.exit(1 if difference.new else 0)
