"""Order books: kept from what a feed delivers, and either right or said not to be."""
