-- Admit ready node runs, or file what waits.
-- KEYS, ARGV: as lib/admission.lua says, from the first on
-- Replies: 1, 0 or -1 for each task, as it says
--@include clock
--@include used
--@include lanes
--@include take
--@include spread
--@include admission
return (admission(0))
