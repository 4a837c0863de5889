-- Spans and their content are read trace by trace, so a day may lie in more parts: each row is rewritten less often on the way.
-- (Interactions and calls are read whole, FINAL, and stay in few parts.) Closed days become one part all the same.

ALTER TABLE spans/*@local*/ /*@on_cluster*/ MODIFY SETTING merge_selector_base = 30;

ALTER TABLE span_content/*@local*/ /*@on_cluster*/ MODIFY SETTING merge_selector_base = 30;
