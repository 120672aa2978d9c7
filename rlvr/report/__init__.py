"""What a person looks at: run folder, live terminal view, plots, the HTML report."""
