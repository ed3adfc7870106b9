"""`python -m benchmarks`; see `runner`. Every process of the benchmark imports this anew, so it imports nothing."""

if __name__ == "__main__":
    from benchmarks.runner import main

    main()
