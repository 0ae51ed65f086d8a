"""The log: Apache Kafka, written exactly once, and read back."""
