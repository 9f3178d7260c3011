"""Several requests at a time to one model, and several models at a time: continuous batching. No web, no Prefect."""
