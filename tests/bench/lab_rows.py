# SPDX-License-Identifier: MIT
"""lab_rows - rows over links with delay, rate, queue and loss."""
GROUPS = ()


class LabBench:
    def __init__(self, options, table, progress):
        pass
