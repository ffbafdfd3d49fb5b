"""The only place where stages meet: one file for each process, and ``road`` for ``ship``."""
