"""A program in place of the analyzer's that never says anything."""

import time


def main(_descriptor: int) -> None:
    time.sleep(600)
