"""Token files and packed batches."""

import pytest
import torch

from components.data.records import RecordError
from components.data.sequences import pack
from components.data.tokens import TokenFile, TokenFileWriter


def test_token_file_windows_cover_the_text_in_order(tmp_path):
    writer = TokenFileWriter(tmp_path / "t.json", vocab_size=300, endoftext=9)
    writer.extend(["ab", "é"], [[1, 2, 3], [4, 5, 6, 7]])
    meta = writer.close()
    assert (meta.tokens, meta.bytes, meta.documents, meta.dtype) == (9, 4, 2, "uint16")
    tokens = TokenFile(tmp_path / "t.json", context_length=4)
    assert tokens.windows([0, 4, 1]).tolist() == [[1, 2, 3, 9, 4], [4, 5, 6, 7, 9], [2, 3, 9, 4, 5]]
    with pytest.raises(RecordError, match="9 tokens, fewer than one window"):
        TokenFile(tmp_path / "t.json", context_length=9)


def test_an_empty_token_file_is_a_sentence(tmp_path):
    TokenFileWriter(tmp_path / "t.json", vocab_size=300, endoftext=9).close()
    with pytest.raises(RecordError, match="0 tokens"):
        TokenFile(tmp_path / "t.json", context_length=4)


def test_large_vocabularies_get_wider_token_files(tmp_path):
    writer = TokenFileWriter(tmp_path / "t.json", vocab_size=100_000, endoftext=0)
    writer.extend(["x"], [[99_999]])
    assert writer.close().dtype == "uint32"
    assert TokenFile(tmp_path / "t.json", context_length=1).windows([0]).tolist() == [[99_999, 0]]


def test_packed_replies_line_up_with_the_positions_that_predict_them():
    batch = pack([[1, 2, 3], [4]], [[5, 6], [7, 8, 9]], pad_id=0)
    assert batch.input_ids.tolist() == [[1, 2, 3, 5, 6], [4, 7, 8, 9, 0]]
    assert batch.response_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.last_positions.tolist() == [4, 3]
    assert batch.response_ids[batch.response_mask].tolist() == [5, 6, 7, 8, 9]
    before = batch.input_ids.gather(1, batch.predicting_positions)
    assert before[batch.response_mask].tolist() == [3, 5, 4, 7, 8]
    cut = batch.rows(torch.tensor([0]))
    assert cut.input_ids.tolist() == [[1, 2, 3, 5, 6]]
    assert cut.response_mask.tolist() == [[True, True]]
    with pytest.raises(ValueError, match="every row"):
        pack([[1]], [[]], pad_id=0)
