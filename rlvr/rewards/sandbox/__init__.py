"""Runs programs a model wrote: a warm interpreter forks and confines itself, the judge stays outside."""
