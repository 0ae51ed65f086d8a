"""The REST side of a venue: questions, answers, weight."""
