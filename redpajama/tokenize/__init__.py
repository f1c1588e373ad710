"""Text -> token shards: encoding and the files that trainers read."""

BYTES_A_TOKEN = 4.3  # of English prose, by tokenizers of 32,000 to 50,000 entries: to reckon by, never to count
