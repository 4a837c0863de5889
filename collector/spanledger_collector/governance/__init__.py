"""Who may do what, and what was done: keys and their scopes, and the chain of the audit log. No I/O."""
