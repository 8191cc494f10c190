"""Random faults to launches here and on a private cluster; `python -m tests.storms`."""
