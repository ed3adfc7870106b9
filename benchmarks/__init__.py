"""What tracking and pushing cost, beside what people use today and beside the floor: `make bench`."""
