"""The line to models: the only code that talks to one."""
