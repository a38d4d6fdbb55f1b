"""Queues of AWS SQS, and of servers that speak its protocol."""
