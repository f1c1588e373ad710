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
    tokens = torch.from_numpy(np.concatenate(shards).astype(np.int64))
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
        starts = torch.randint(len(tokens) - LENGTH, (BATCH,))
        batch = torch.stack([tokens[start : start + LENGTH] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
