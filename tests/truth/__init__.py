"""Every figure that somebody published or measured, beside ours: ``python -m tests.truth DIR``.

DIR holds the reference data (``oracle/``, ``corpus/``). The table says equal, near, wrong or
refused for every row, and the exit code is 1 where a bound of ``__main__`` is not kept.
"""
