"""Prefect flows. They decide nothing: DVC says what must run, the components compute."""
