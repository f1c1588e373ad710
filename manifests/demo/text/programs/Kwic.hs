-- | Keyword in context: every word of every title in the middle of its line, in alphabetical order.
module Main (main) where

import Data.Char (isAlpha, toLower)
import Data.List (inits, sortOn, tails)

data Line = Line { before :: [String], key :: String, after :: [String] }

stopWords :: [String]
stopWords = words "a an and as at by for from in is of on or the to with"

rotations :: String -> [Line]
rotations title =
  [ Line front w back
  | (front, w : back) <- zip (inits ws) (tails ws)
  , map toLower w `notElem` stopWords
  ]
  where ws = words title

render :: Int -> Line -> String
render width (Line front w back) = pad (lastN width (unwords front)) ++ "  " ++ take width (unwords (w : back))
  where
    pad s = replicate (width - length s) ' ' ++ s
    lastN n s = drop (length s - n) s

main :: IO ()
main = interact $ unlines . map (render 36) . sortOn (map toLower . filter isAlpha . key) . concatMap rotations . lines
