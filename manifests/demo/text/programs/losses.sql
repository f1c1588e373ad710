-- What was lost where: one row for each source and reason, the largest first.
-- Copyright 2021 example/ledger contributors. SPDX-License-Identifier: Apache-2.0

create view losses as
select
    source,
    reason,
    count(*) as documents,
    round(100.0 * count(*) / sum(count(*)) over (partition by source), 1) as percent_of_losses,
    min(doc_id) as for_example
from ledger
where verdict in ('dropped', 'quarantined')
group by source, reason;

-- A source that lost more than it kept deserves a look before anything else is done with it.
select l.source, sum(l.documents) as lost, k.kept
from losses as l
join (select source, count(*) as kept from documents group by source) as k using (source)
group by l.source, k.kept
having sum(l.documents) > k.kept
order by lost desc;
