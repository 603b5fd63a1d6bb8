-- Version 2. Where the history goes on, in a store that nothing is appended to any more. It is in the row that dense
-- commits lock, so that the check is part of their order.
ALTER TABLE {schema}.head ADD COLUMN fence text;
