"""Your own strategies, one module each or several in one."""
