"""The page and the REST service over one store: the only place that speaks HTTP."""
