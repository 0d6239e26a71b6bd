-- How many copies came since {since}: decides into how many slices the pass is cut.
SELECT count() FROM event_ids WHERE ingested_at >= {since:DateTime('UTC')}
