"""``rapido deploy``, ``plan``, ``status``, ``destroy``: the cells on AWS, a region each."""
