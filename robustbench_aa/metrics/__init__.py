"""Metrics: functions from tables of predictions to tables of values. They need no torch.

>>> import numpy as np
>>> import robustbench_aa as rb
>>> from robustbench_aa.metrics.corruption_error import mean_error
>>> float(mean_error(np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.4, 0.5, 0.6, 0.7]])))
0.4
"""
