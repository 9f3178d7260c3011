"""Data as GPT-3 had them: treated, mixed, and beside them the same as they came."""
