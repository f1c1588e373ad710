"""Text -> token shards: encoding and the files that trainers read."""
