"""Train a GPT-NeoX of two layers on the shards of a build, on a CPU: python examples/train_tiny.py ROOT/current/BUILD

Needs numpy, torch and transformers; reads the shards as a flat memory map, by the cards beside them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

STEPS, BATCH, LENGTH = 50, 8, 128


def main(folder: Path) -> None:
    """50 steps; the loss of each is printed."""
    torch.manual_seed(1)
    cards = [json.loads(path.read_text()) for path in sorted(folder.glob("*-of-*.json"))]
    cards = [card for card in cards if card["split"] == "train"]
    shards = [np.memmap(folder / f"{card['prefix']}.bin", card["dtype"], "r") for card in cards]
    places = torch.tensor([float(max(0, len(shard) - LENGTH)) for shard in shards])
    words = cards[0]["tokenizer"]
    size = 128 * -(-words["vocab_size"] // 128)  # as GPT-NeoX pads it
    config = GPTNeoXConfig(
        vocab_size=size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=LENGTH,
        bos_token_id=words["end_id"],
        eos_token_id=words["end_id"],
    )
    model = GPTNeoXForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(STEPS):
        drawn = torch.multinomial(places, BATCH, replacement=True).tolist()
        batch = torch.stack([_row(shards[number]) for number in drawn])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)


def _row(shard: np.memmap) -> torch.Tensor:
    """LENGTH tokens from anywhere in a shard: only these are read."""
    start = int(torch.randint(len(shard) - LENGTH, (1,)))
    return torch.from_numpy(shard[start : start + LENGTH].astype(np.int64))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
