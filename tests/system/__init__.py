"""ramnet whole, on the lab: every promise of issue 2's "done when" by real programs.

What may leave is said once (``conftest.stray``); each test then shows that nothing else did.
"""
