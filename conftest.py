"""What must be set before the tests load torch."""

import os

# as the command line does: waiting threads that spin take the cores of the other test processes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
