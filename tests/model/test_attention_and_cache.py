"""What a row answers depends on its tokens and image alone: not on the cache, the padding, or its neighbours."""

import pytest
import torch
from transformers.cache_utils import DynamicCache

from artquant.engines.kv_cache import KVCache
from artquant.model import MPLUGOwl2LlamaForCausalLM
from tests.checkpoints import random_config

HEADS = {"grouped heads": dict(num_attention_heads=4, num_key_value_heads=2), "a key for each head": dict(num_key_value_heads=2)}


@pytest.fixture(scope="module", params=HEADS.values(), ids=HEADS)
def model(request):
    torch.manual_seed(0)
    model = MPLUGOwl2LlamaForCausalLM(random_config(**request.param)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "pos_embed" not in name:
                parameter.mul_(5)  # so that images and positions matter
    return model


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def rows(num: int, length: int, image_at: int = 3) -> torch.Tensor:
    """Token ids (num, length) with an image of 5 tokens at `image_at`."""
    ids = torch.randint(3, 500, (num, length), generator=torch.Generator().manual_seed(1))
    ids[:, image_at : image_at + 5] = -200
    return ids


def pictures(num: int) -> torch.Tensor:
    return torch.randn(num, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def new_cache(kind: str, model, num: int, length: int):
    config = model.config
    if kind == "transformers":
        return DynamicCache()
    return KVCache(config.num_hidden_layers, num, config.num_key_value_heads, length, config.head_dim, model.dtype, model.device)


@pytest.mark.parametrize("kind", ["transformers", "artquant"])
def test_prefill_and_single_steps_equal_one_pass(model, kind):
    ids, images = rows(2, 16), pictures(2)
    whole = model(ids, pixel_values=images).logits
    cache = new_cache(kind, model, 2, 16)
    parts = [model(ids[:, :10], pixel_values=images, past_key_values=cache).logits]
    parts += [model(ids[:, i : i + 1], past_key_values=cache).logits for i in range(10, 16)]
    assert cache.get_seq_length() == 16
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["transformers", "artquant"])
def test_the_image_may_come_in_a_later_piece_of_several_tokens(model, kind):
    ids, images = rows(2, 16, image_at=7), pictures(2)
    whole = model(ids, pixel_values=images).logits
    cache = new_cache(kind, model, 2, 20)
    pieces = [(ids[:, :6], None), (ids[:, 6:14], images), (ids[:, 14:], None)]
    parts = [model(piece, pixel_values=pixels, past_key_values=cache).logits for piece, pixels in pieces]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


def test_a_cache_that_drops_rows_goes_on_with_those_that_stay(model):
    ids, images = rows(4, 14), pictures(4)
    cache = new_cache("artquant", model, 4, 14)
    model(ids[:, :12], pixel_values=images, past_key_values=cache)
    kept = torch.tensor([3, 1])
    cache.keep(kept)
    logits = model(ids[kept, 12:], past_key_values=cache).logits
    assert torch.allclose(logits, model(ids, pixel_values=images).logits[kept, 12:], atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("positions", ["given", "not given"])
def test_padding_changes_no_rows_logits(model, side, positions):
    ids, images, padding = rows(2, 12), pictures(2), 5
    alone = [model(ids[i : i + 1], pixel_values=images[i : i + 1]).logits[0] for i in range(2)]
    extra = rows(1, 12 + padding, image_at=6)
    pad = torch.zeros(2, padding, dtype=torch.long)
    padded = torch.cat([ids, pad] if side == "right" else [pad, ids], 1)
    mask = torch.cat([torch.ones_like(ids), pad] if side == "right" else [pad, torch.ones_like(ids)], 1)
    batch = torch.cat([padded, extra])
    mask = torch.cat([mask, torch.ones_like(extra)])
    kwargs = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if positions == "given" else {}
    three = torch.cat([images, pictures(3)[2:]])
    logits = model(batch, attention_mask=mask, pixel_values=three, **kwargs).logits
    assert logits.isfinite().all()
    for i in range(2):
        assert torch.allclose(logits[i][mask[i].bool()], alone[i], atol=1e-5)
    assert torch.allclose(logits[2], model(extra, pixel_values=three[2:]).logits[0], atol=1e-5)


def test_a_later_token_changes_no_earlier_logits(model):
    ids, images = rows(1, 14), pictures(1)
    other = ids.clone()
    other[0, 12] += 1
    a, b = (model(i, pixel_values=images).logits for i in (ids, other))
    assert torch.equal(a[:, :12], b[:, :12]) and not torch.allclose(a[:, 12:], b[:, 12:], atol=1e-3)


@pytest.mark.parametrize("padding", [0, 4])
def test_generation_with_and_without_a_cache_gives_the_same_tokens(model, padding):
    ids, images = rows(2, 12), pictures(2)
    mask = torch.ones_like(ids)
    if padding:
        ids[0] = torch.cat([torch.zeros(padding, dtype=torch.long), ids[0, :-padding]])
        mask[0, :padding] = 0
    kwargs = dict(attention_mask=mask, pixel_values=images, max_new_tokens=10, do_sample=False, eos_token_id=None)
    cached, plain = (model.generate(ids, use_cache=use_cache, **kwargs)[:, 12:] for use_cache in (True, False))
    assert cached.shape == (2, 10) and cached.tolist() == plain.tolist()
    tokens = ids[:, :]
    for _ in range(10):
        full = torch.cat([mask, torch.ones(2, tokens.shape[1] - 12, dtype=torch.long)], 1)
        logits = model(tokens, attention_mask=full, pixel_values=images).logits[:, -1]
        logits[:, 0] = -torch.inf  # the processor's id of an image, which no answer holds
        following = logits.argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, following], 1)
    assert cached.tolist() == tokens[:, 12:].tolist()


def test_each_row_sees_its_own_image(model):
    ids, images = rows(1, 12).expand(3, -1), pictures(3)
    together = model(ids, pixel_values=images).logits[:, -1]
    alone = torch.cat([model(ids[:1], pixel_values=image[None]).logits[:, -1] for image in images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.cdist(alone, alone).fill_diagonal_(1).min() > 1e-2
    turned = model(ids, pixel_values=images.flip(0)).logits[:, -1]
    assert torch.allclose(turned, alone.flip(0), atol=1e-5)


def test_several_images_of_a_row_stand_in_their_order(model):
    ids, images = rows(1, 20), pictures(2)
    ids[:, 12:17] = -200
    features = model.get_image_features(images)
    embeds = model.model.embed(ids, features)
    assert torch.equal(embeds[0, 3:8], features[0]) and torch.equal(embeds[0, 12:17], features[1])
    assert torch.equal(embeds[0, 8:12], model.model.embed_tokens(ids[0, 8:12]))


@pytest.mark.parametrize(("num_images", "says"), [(1, "10 image tokens for 1 images"), (3, "for 3 images"), (0, "for 0 images")])
def test_image_tokens_that_do_not_fit_the_images_are_refused(model, num_images, says):
    with pytest.raises(ValueError, match=says):
        model(rows(2, 12), pixel_values=pictures(num_images) if num_images else None)


def test_images_without_image_tokens_are_refused(model):
    with pytest.raises(ValueError, match="0 image tokens for 1 images"):
        model(torch.randint(3, 500, (1, 6)), pixel_values=pictures(1))
