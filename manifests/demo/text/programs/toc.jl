# Table of contents of a Markdown file: one line for each heading, indented by its level.

"Heading -> the fragment that GitHub gives it: lower case, spaces as hyphens, the rest of the punctuation gone."
slug(heading) = replace(lowercase(heading), r"[^\w\- ]" => "", " " => "-")

function contents(lines)
    entries = String[]
    seen = Dict{String,Int}()
    in_code = false
    for line in lines
        startswith(line, "```") && (in_code = !in_code)
        found = in_code ? nothing : match(r"^(#{1,6})\s+(.*?)\s*#*$", line)
        found === nothing && continue
        level, heading = length(found[1]), found[2]
        anchor = slug(heading)
        n = get(seen, anchor, 0)
        seen[anchor] = n + 1
        n > 0 && (anchor *= "-$n")  # the second heading of the same name
        push!(entries, "  "^(level - 1) * "* [$heading](#$anchor)")
    end
    entries
end

foreach(println, contents(eachline(stdin)))
