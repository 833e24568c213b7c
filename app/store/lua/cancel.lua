-- Ask for the end of a run, once. One whose trigger was not taken yet is cancelled when it is.
-- KEYS: run, inbox, active, events, receipt
-- ARGV: run id, signal, event (JSON), number of terminal states, terminal states...
-- Replies: the state of the run, 'queued' where only its receipt is there; false where there is no such run.
--@include clock
--@include ended
--@include push
--@include queued
--@include cancel
return cancel_run(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2], ARGV[3], 4)
