"""Count the primes below 100 million in 1,000 tasks; the event log holds the counts."""

import sys

from cloud_tasks.cli.primes import count_primes, prime_tasks
from cloud_tasks.worker import Worker

if __name__ == "__main__":
    Worker(count_primes, task_source=prime_tasks, args=sys.argv[1:]).main()
