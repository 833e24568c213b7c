"""`headrace listener`: events from a Redis stream or a Kafka topic become triggers (M8)."""
