"""What must be set before the tests load torch, unless the user has set it."""

import os

# as the command line does: waiting threads that spin take the cores of the other test processes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # the processes share the cores; small images gain nothing from several threads
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
