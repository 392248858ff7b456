"""One machine, one command: the services and programs of Hikaku as child processes."""
