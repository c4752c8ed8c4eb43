"""Work that takes long: tasks, the jobs that do them in child processes, and their progress."""
