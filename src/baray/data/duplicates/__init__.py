"""Equal texts and near duplicates among Documents: bands propose pairs, the true similarity decides."""
