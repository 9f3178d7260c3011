"""Records, cleaning, splits, tokenizer, chat template and the batches made of them."""
